-- Whether a prediction is right; no other object compares predictions with labels.
-- Grain: scalar.
-- Parameters: y_true, y_pred (0-based classes)
-- Edges: NULL where either is NULL; below 0 is not a class and never right, even if both are equal.
-- Source: definition
create or replace macro _correct(y_true, y_pred) as
y_true = y_pred
-- For equal numbers one test would suffice; both are tested so that NULL against -1 stays NULL.
and not (y_true < 0 and y_pred < 0);

-- Keep the statistics of a block, for every image with the bytes measured.
-- Grain: one row per image.
-- Parameters: none
-- Edges: bytes other than those that were added are an error.
-- Source: this project
update images
set
    brightness = _answers.answer.brightness,
    contrast = _answers.answer.contrast,
    sharpness = _answers.answer.sharpness,
    colourfulness = _answers.answer.colourfulness,
    entropy = _answers.answer.entropy
from _answers
where images.sha256 = _answers.sha256
    and _answers.answer.error is null
    and _answers.answer.sha256 = _answers.sha256;

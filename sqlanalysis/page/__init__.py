"""The parts of the report page: charts, template, style and script; `reporting.report` puts them together."""

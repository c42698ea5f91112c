"""The steps of the pipeline that join several packages: the goal, the search, settling on the device, the record."""

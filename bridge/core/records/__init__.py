"""Records: values that events carry and stores keep; the lowest layer of the core."""

"""A frame becomes a result: preprocess, schedule, engine, postprocess; ``pipeline.Pipeline`` is its face."""

"""A model behind HTTP: formats, a batcher, versions, keys and limits, all around one predict."""

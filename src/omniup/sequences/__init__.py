"""Video: frames in, frames out, consistent over time."""

"""Where models come from: any object store, a local file, an archive."""

"""Where models come from: any object store, a local file, an archive.

The ways in: `fetch.fetch` (in this process), `child.fetch_in_child` (in a process of its own), `digest.digest_of` (local files).
Nothing here imports numpy; obstore is imported only when a remote URI is opened.
"""

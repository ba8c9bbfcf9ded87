"""The Python client: joins rooms over one WebSocket and survives its loss."""

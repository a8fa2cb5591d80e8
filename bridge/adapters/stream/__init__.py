"""The observation stream, by websockets. Start reading at :mod:`bridge.adapters.stream.hub`."""

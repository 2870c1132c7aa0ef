"""What all HTTP APIs share: the way in, who may call, errors as statuses and envelopes, the server itself."""

"""The kinds about the API server itself: admission webhooks and policies, API services, flow control, certificates."""

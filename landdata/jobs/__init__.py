"""One queue, one runner: checks, exports, webhooks."""

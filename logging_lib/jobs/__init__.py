"""Long work over a store: publish profiles, read history, add checks to foreign events."""

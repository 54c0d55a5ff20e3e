"""Small tools below all other packages: text safety, formatting, packaged resources."""

"""Small tools that all other packages may use: text safety, formatting, packaged resources."""

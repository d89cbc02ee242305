"""One module is one DVC stage."""

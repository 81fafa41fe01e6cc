"""Moving the arm by hand."""

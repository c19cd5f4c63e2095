"""All reconstruction methods on the same photos: tables, plots, report."""

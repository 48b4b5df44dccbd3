"""What people look at after a run: report.html and its plots, and the pages of exports."""

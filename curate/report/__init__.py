"""What people read: tables for a terminal and for Markdown."""

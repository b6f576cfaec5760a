"""The rules that the sample pool is generated from: words, skills, defects and tables."""

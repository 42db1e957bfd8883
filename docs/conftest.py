"""What is no page to run: the site's configuration, the part of it that needs Sphinx, pages made from others, and the
course, whose blocks run as notebooks (tests/test_notebooks.py).
"""

collect_ignore = ["conf.py", "_ext/links.py", "_ext/live.py", "_ext/pictures.py", "generated", "story"]

"""What is no page to run: the site's configuration, the part of it that needs Sphinx, and pages made from others."""

collect_ignore = ["conf.py", "_ext/links.py", "_ext/live.py", "_ext/pictures.py", "generated"]

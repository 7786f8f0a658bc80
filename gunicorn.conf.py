"""Settings of gunicorn, which reads this file where it is started in this folder: `gunicorn stockqueue.wsgi`."""

# What keeps the site from being served is said once, and ends gunicorn. Its workers would say so again and again.
preload_app = True
# A socket in the home directory of the user, for commands that nobody needs here.
control_socket_disable = True

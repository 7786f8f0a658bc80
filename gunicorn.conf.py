"""Settings of gunicorn, which reads this file where it is started in this folder: `gunicorn stockqueue.wsgi`."""

# A refused start ends gunicorn. Without this, gunicorn would replace one failed worker after another.
preload_app = True
# gunicorn would create a socket for commands in the user's home directory.
control_socket_disable = True

"""Settings of gunicorn, which reads this file where it is started in this folder: `gunicorn stockqueue.wsgi`."""

# A refused start ends gunicorn. Without this, gunicorn would replace one failed worker after another.
preload_app = True
# gunicorn would create a socket for commands in the user's home directory.
control_socket_disable = True
# Open pages have a stream each, which takes no thread.
worker_class = "stockqueue.web_worker.WebWorker"
# The requests at a time in each worker process.
threads = 4

"""``edge-runtime doctor``: looks at the box and says what is wrong and what to do. One file a topic.

Nothing here changes the box or disturbs a daemon that runs: no lock is taken, nothing is written, and the broker sees
another client. A topic is a function from what it looks at to findings; ``examine`` runs all of them side by side.
"""

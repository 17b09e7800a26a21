"""The whole loop on one machine, told step by step: `make demo`, `make up`, `make down`.

It uses what any user of the project uses: the commands, and the Python client. Nothing here reaches into a part.
"""

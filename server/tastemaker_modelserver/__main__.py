"""`python -m tastemaker_modelserver` is the command `tastemaker-modelserver`."""

from tastemaker_modelserver.main import main

main()

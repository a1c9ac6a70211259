"""Policies: diffusers pipelines, one family a file."""

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

# Their loading bars and notes on absent torchvision would break our own progress display.
for _logging in (diffusers_logging, transformers_logging):
    _logging.set_verbosity_error()
    _logging.disable_progress_bar()

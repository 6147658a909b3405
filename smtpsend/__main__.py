"""``python -m smtpsend``."""

import sys

from smtpsend.cli import main


sys.exit(main())

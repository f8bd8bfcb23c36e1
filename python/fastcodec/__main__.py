# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m fastcodec` is the command `fastcodec`."""

from fastcodec.cli import main

if __name__ == "__main__":
    main()

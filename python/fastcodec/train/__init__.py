# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Training of ComCNN and RecCNN. The only part of fastcodec that needs torch."""

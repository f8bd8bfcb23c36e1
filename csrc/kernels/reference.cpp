// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference.h"

namespace fastcodec::reference {

const Kernels kernels = {"reference"};

}  // namespace fastcodec::reference

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kernels.h"

namespace fastcodec::reference {

extern const Kernels kernels;

}  // namespace fastcodec::reference

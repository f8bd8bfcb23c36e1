// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels of one instruction set, FASTCODEC_ISA.
#include "kernels/kernels.h"

#define FASTCODEC_STRING_(x) #x
#define FASTCODEC_STRING(x) FASTCODEC_STRING_(x)

namespace fastcodec::FASTCODEC_ISA {

extern const Kernels kernels;
const Kernels kernels = {FASTCODEC_STRING(FASTCODEC_ISA)};

}  // namespace fastcodec::FASTCODEC_ISA

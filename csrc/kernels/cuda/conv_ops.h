// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Launchers of the convolutions on CUDA; they go into the table of image_ops.cu.
#pragma once

#include "kernels/cuda/image_ops.h"

namespace fastcodec::cuda {

void launch_conv(const ConvJob& job, void* stream);
void launch_chain(const FusedJob& job, void* stream);
void launch_row_pairs(const FusedJob& job, void* stream);  // sm_90a only
void launch_pair(const FusedJob& job, void* stream);       // sm_90a only; either kind

}  // namespace fastcodec::cuda

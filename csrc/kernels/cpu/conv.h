// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels of one instruction set, as table.cpp collects them; contracts in kernels.h.
#pragma once

#include "kernels/kernels.h"

namespace fastcodec::FASTCODEC_ISA {

size_t conv_direct_packed_bytes(const ConvShape& shape);
void conv_direct_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
size_t conv_direct_scratch_bytes(const ConvShape& shape);
void conv_direct(const ConvArgs& args);

// Integer Winograd convolution for some shapes of 3x3 and stride 1; the same results.
bool conv_winograd_fits(const ConvShape& shape, int64_t max_abs_acc);
size_t conv_winograd_packed_bytes(const ConvShape& shape);
void conv_winograd_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
size_t conv_winograd_scratch_bytes(const ConvShape& shape);
void conv_winograd(const ConvArgs& args);

// 1x1 convolution that skips zero blocks of weights. conv_sparse_blocks counts the others, or gives 0 where dense is better.
int conv_sparse_blocks(const ConvShape& shape, const int8_t* weight);
size_t conv_sparse_packed_bytes(const ConvShape& shape);
void conv_sparse_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
size_t conv_sparse_scratch_bytes(const ConvShape& shape);
void conv_sparse(const ConvArgs& args);

// The same with pixels in the lanes, where conv_sparse_pixels_fits(); conv_sparse calls it.
bool conv_sparse_pixels_fits();
int conv_sparse_pixels_blocks(const ConvShape& shape, const int8_t* weight);
size_t conv_sparse_pixels_packed_bytes(const ConvShape& shape);
void conv_sparse_pixels_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
size_t conv_sparse_pixels_scratch_bytes(const ConvShape& shape);
void conv_sparse_pixels(const ConvArgs& args);

// 1x1 convolution by joined sums of 16 bits. conv_joined_joins counts them, or gives 0 where another method is better, the
// sparse one if shape.n_blocks.
int conv_joined_joins(const ConvShape& shape, const int8_t* weight);
size_t conv_joined_packed_bytes(const ConvShape& shape);
void conv_joined_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
size_t conv_joined_scratch_bytes(const ConvShape& shape);
void conv_joined(const ConvArgs& args);

// Depthwise convolution; conv_direct calls it.
size_t conv_depthwise_packed_bytes(const ConvShape& shape);
void conv_depthwise_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed);
void conv_depthwise(const ConvArgs& args);

// From u8 to u8 with nothing to add, for some shapes; conv_depthwise calls it.
bool conv_depthwise_bytes_fits(const ConvShape& shape);
size_t conv_depthwise_bytes_packed_bytes(const ConvShape& shape);
void conv_depthwise_bytes_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed);
int conv_depthwise_bytes_table_length(const ConvShape& shape);  // entries behind those of the channels
void conv_depthwise_bytes_table(const ConvShape& shape, int32_t* table);
void conv_depthwise_bytes(const ConvArgs& args, const uint8_t* packed);

// Convolution by tile products, where the instruction set has tiles; it needs no scratch.
bool conv_tiles_fits(const ConvShape& shape);
size_t conv_tiles_packed_bytes(const ConvShape& shape);
void conv_tiles_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
void conv_tiles(const ConvArgs& args);

// 1x1 convolution of i16.
size_t conv_i16_packed_bytes(const ConvShape& shape);
void conv_i16_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
void conv_i16(const ConvArgs& args);

void scale(const ScaleArgs& args);
void lookup(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, bool by_channel, uint8_t* out, int out_pixel,
            int n_cols);
void pixel_unshuffle2(const void* const rows[2], int in_pixel, int channels, int element_bytes, void* out,
                      int out_pixel, int n_cols);
void phase(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, int n_planes, int period, int x0,
           const uint8_t* column, uint8_t* out, int out_pixel, int n_cols);
void pixel_shuffle2(const void* in, int in_pixel, int channels, int dy, int element_bytes, void* out, int out_pixel,
                    int n_cols);
size_t bicubic_scratch_bytes(int channels, int n_cols);
void bicubic_up2(const uint8_t* const rows[4], int channels, int dy, Dtype out_type, void* out, int n_cols,
                 uint8_t* scratch);
void bicubic_down2(const uint8_t* const rows[8], int channels, Dtype out_type, void* out, int n_cols,
                   uint8_t* scratch);
void residual(const int16_t* d, int d_pixel, const void* base, Dtype base_type, int base_pixel, int channels,
              uint8_t* out, int out_pixel, int n_cols);

}  // namespace fastcodec::FASTCODEC_ISA

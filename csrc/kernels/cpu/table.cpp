// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels of one instruction set, FASTCODEC_ISA.
#include "kernels/cpu/conv.h"

#define FASTCODEC_STRING_(x) #x
#define FASTCODEC_STRING(x) FASTCODEC_STRING_(x)

namespace fastcodec::FASTCODEC_ISA {
namespace {

void conv_plan(ConvShape* shape, const int8_t* weight, int64_t max_abs_acc) {
  shape->tiles = conv_tiles_fits(*shape);
  if (shape->tiles || shape->wide) return;
  shape->winograd = conv_winograd_fits(*shape, max_abs_acc);
  shape->n_blocks = conv_sparse_blocks(*shape, weight);
  shape->n_joins = conv_joined_joins(*shape, weight);
}

size_t conv_packed_bytes(const ConvShape& shape) {
  if (shape.tiles) return conv_tiles_packed_bytes(shape);
  if (shape.wide) return conv_i16_packed_bytes(shape);
  if (shape.n_joins) return conv_joined_packed_bytes(shape);
  if (shape.n_blocks) return conv_sparse_packed_bytes(shape);
  return shape.winograd ? conv_winograd_packed_bytes(shape) : conv_direct_packed_bytes(shape);
}

void conv_pack(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  if (shape.tiles) conv_tiles_pack(shape, weight, packed, bias_shift);
  else if (shape.wide) conv_i16_pack(shape, weight, packed, bias_shift);
  else if (shape.n_joins) conv_joined_pack(shape, weight, packed, bias_shift);
  else if (shape.n_blocks) conv_sparse_pack(shape, weight, packed, bias_shift);
  else if (shape.winograd) conv_winograd_pack(shape, weight, packed, bias_shift);
  else conv_direct_pack(shape, weight, packed, bias_shift);
}

bool conv_passes(const ConvShape& from, const ConvShape& to) {
  return conv_sparse_pixels_fits() && from.n_blocks && to.n_blocks;
}

bool has_wide_tables(const ConvShape& shape) { return shape.depthwise && conv_depthwise_bytes_fits(shape); }

int conv_table_length(const ConvShape& shape) {
  return round_up(shape.out_channels, kChannelAlign) + (has_wide_tables(shape) ? conv_depthwise_bytes_table_length(shape) : 0);
}

void conv_table(const ConvShape& shape, int32_t* table) {
  if (has_wide_tables(shape)) conv_depthwise_bytes_table(shape, table);
}

size_t conv_scratch_bytes(const ConvShape& shape, int) {
  if (shape.tiles || shape.wide) return 0;
  if (shape.n_joins) return conv_joined_scratch_bytes(shape);
  if (shape.n_blocks) return conv_sparse_scratch_bytes(shape);
  return shape.winograd ? conv_winograd_scratch_bytes(shape) : conv_direct_scratch_bytes(shape);
}

void conv(const ConvArgs& args) {
  if (args.shape.tiles) conv_tiles(args);
  else if (args.shape.wide) conv_i16(args);
  else if (args.shape.n_joins) conv_joined(args);
  else if (args.shape.n_blocks) conv_sparse(args);
  else if (args.shape.winograd) conv_winograd(args);
  else conv_direct(args);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {
    FASTCODEC_STRING(FASTCODEC_ISA),
    conv_plan,
    conv_packed_bytes,
    conv_pack,
    conv_passes,
    conv_table_length,
    conv_table,
    conv_scratch_bytes,
    conv,
    scale,
    lookup,
    pixel_unshuffle2,
    phase,
    pixel_shuffle2,
    bicubic_scratch_bytes,
    bicubic_up2,
    bicubic_down2,
    residual,
};

}  // namespace fastcodec::FASTCODEC_ISA

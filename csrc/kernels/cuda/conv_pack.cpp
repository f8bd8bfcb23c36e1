// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/conv_pack.h"

#include "kernels/cuda/conv_bodies.h"

namespace fastcodec::cuda {
namespace {

int8_t weight_at(const ConvWeights& w, int o, int y, int x, int i) {
  const bool inside = o < w.n_out && i < w.n_in && y >= 0 && y < w.kernel;
  return inside ? w.data[((static_cast<size_t>(o) * w.kernel + y) * w.kernel + x) * w.n_in + i] : int8_t{0};
}

// Row and k of byte `b` of a lane's 16 bytes of a 16 x 32 A operand.
int operand_row(int lane, int b) { return lane / 4 + b / 4 % 2 * 8; }
int operand_k(int lane, int b) { return lane % 4 * 4 + b % 4 + b / 8 * 16; }

// Input channel in its plane of k % 16.
int plain_channel(int k) { return k; }
int wide_channel(int k) { return k % 4 / 2 * 8 + k / 4 * 2 + k % 2; }

std::vector<int8_t> pack(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes, int (*channel)(int)) {
  const int steps = conv_steps(w.kernel, chunk_planes);
  std::vector<int8_t> packed;
  for (int first = 0; first < w.n_out; first += 16 * n_tiles) {
    for (int plane = 0; plane < n_planes; plane += chunk_planes) {
      const int planes = n_planes - plane < chunk_planes ? n_planes - plane : chunk_planes;
      for (int i = 0; i < steps * n_tiles * 512; ++i) {
        const int b = i % 16, lane = i / 16 % 32, tile = i / 512 % n_tiles, step = i / 512 / n_tiles;
        const int k = operand_k(lane, b), half = 2 * step + k / 16, tap = half / planes;
        const int in = (plane + half % planes) * kPlaneChannels + channel(k % 16);
        const bool real = half < conv_halves(w.kernel, planes);
        const int out = first + conv_channel(n_tiles, tile, operand_row(lane, b));
        packed.push_back(real ? weight_at(w, out, tap / w.kernel, tap % w.kernel, in) : int8_t{0});
      }
    }
  }
  return packed;
}

}  // namespace

std::vector<int8_t> pack_conv(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes) {
  return pack(w, n_planes, n_tiles, chunk_planes, plain_channel);
}

std::vector<int8_t> pack_wide(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes) {
  return pack(w, n_planes, n_tiles, chunk_planes, wide_channel);
}

std::vector<int8_t> pack_pair(const ConvWeights& w) {
  std::vector<int8_t> packed;
  for (int i = 0; i < 9 * 64 * 64; ++i) {
    const int step = i / 2048, k = i / 1024 % 2 * 16 + i % 16, row = i / 16 % 64, tap = step / 2;
    packed.push_back(weight_at(w, row / 16 * 16 + conv_channel(1, 0, row % 16), tap / 3, tap % 3, step % 2 * 32 + k));
  }
  return packed;
}

std::vector<int8_t> pack_row_pairs(const ConvWeights& w, bool narrow) {
  std::vector<int8_t> packed;
  for (int i = 0; i < 12 * 128 * 16; ++i) {
    const int b = i % 16, thread = i / 16 % 128, step = i / 2048, lane = thread % 32, warp = thread / 32;
    const int out = warp % 2 * 16 + conv_channel(1, 0, operand_row(lane, b)), k = operand_k(lane, b), other = k / 16;
    if (!narrow) packed.push_back(weight_at(w, out, step / 3 - warp / 2, step % 3, k));
    else if (step < 4) packed.push_back(weight_at(w, out, step - warp / 2, other, k % 16));
    else packed.push_back(step < 6 ? weight_at(w, out, step % 2 * 2 + other - warp / 2, 2, k % 16) : int8_t{0});
  }
  return packed;
}

}  // namespace fastcodec::cuda

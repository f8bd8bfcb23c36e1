// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/conv_pack.h"

#include <functional>

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

// Of which row of a sparse A operand, and from which four of k on, a lane has the places.
int places_row(int lane) { return lane / 4 + lane % 2 * 8; }
int places_first(int lane) { return lane / 2 % 2 * 8; }

// Input channel in its plane of k % 16.
int plain_channel(int k) { return k; }
int wide_channel(int k) { return k % 4 / 2 * 8 + k / 4 * 2 + k % 2; }

std::vector<int8_t> pack(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes, int (*channel)(int)) {
  const int steps = conv_steps(w.kernel, chunk_planes, 2);
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

// Two values of four that follow one another in k, and where they stand: two bits for each.
struct TwoOfFour {
  int8_t value[2];
  uint32_t places;
};
TwoOfFour two_of_four(const std::function<int8_t(int)>& at) {
  int place[2] = {2, 3};  // where nothing else is, zeros
  for (int i = 3, found = 0; i >= 0 && found < 2; --i) {
    if (at(i) == 0) continue;
    if (found++ == 0) {
      place[1] = i > 0 ? i : 1;
      place[0] = i > 0 ? i - 1 : 0;
    } else {
      place[0] = i;
    }
  }
  return {{at(place[0]), at(place[1])}, static_cast<uint32_t>(place[0] | place[1] << 2)};
}

// The places of 16 values of a row, from four `first` (of 4 of k) on.
void append_places(std::vector<int8_t>& packed, int first, const std::function<TwoOfFour(int)>& of) {
  uint32_t word = 0;
  for (int i = 0; i < 8; ++i) word |= of(first + i).places << 4 * i;
  for (int i = 0; i < 4; ++i) packed.push_back(static_cast<int8_t>(word >> 8 * i));
}

}  // namespace

bool is_two_of_four(const ConvWeights& w) {
  const size_t n_rows = static_cast<size_t>(w.n_out) * w.kernel * w.kernel;
  for (size_t row = 0; row < n_rows; ++row) {
    for (int i = 0, kept = 0; i < w.n_in; ++i) {
      kept = (i % 4 == 0 ? 0 : kept) + (w.data[row * w.n_in + i] != 0);
      if (kept > 2) return false;
    }
  }
  return true;
}

std::vector<int8_t> pack_sparse_conv(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes) {
  const int steps = conv_steps(w.kernel, chunk_planes, 4);
  std::vector<int8_t> packed;
  for (int first = 0; first < w.n_out; first += 16 * n_tiles) {
    for (int plane = 0; plane < n_planes; plane += chunk_planes) {
      const int planes = n_planes - plane < chunk_planes ? n_planes - plane : chunk_planes;
      for (int step = 0; step < steps; ++step) {
        // Four `i` of k of a row of a tile.
        const auto four = [&](int tile, int row, int i) {
          const int half = 4 * step + i / 4, tap = half / planes, in = (plane + half % planes) * kPlaneChannels + i % 4 * 4;
          const bool real = half < conv_halves(w.kernel, planes);
          const int out = first + conv_channel(n_tiles, tile, row);
          return two_of_four([&](int c) { return real ? weight_at(w, out, tap / w.kernel, tap % w.kernel, in + c) : int8_t{0}; });
        };
        for (int i = 0; i < n_tiles * 512; ++i) {
          const int b = i % 16, lane = i / 16 % 32, n = operand_k(lane, b);
          packed.push_back(four(i / 512, operand_row(lane, b), n / 2).value[n % 2]);
        }
        for (int i = 0; i < n_tiles * 32; ++i) {
          append_places(packed, places_first(i), [&](int f) { return four(i / 32, places_row(i % 32), f); });
        }
      }
    }
  }
  return packed;
}

std::vector<int8_t> pack_conv(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes) {
  return pack(w, n_planes, n_tiles, chunk_planes, plain_channel);
}

std::vector<int8_t> pack_wide(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes) {
  return pack(w, n_planes, n_tiles, chunk_planes, wide_channel);
}

std::vector<uint32_t> pack_depthwise(const int8_t* weight, int channels) {
  std::vector<uint32_t> packed(static_cast<size_t>(n_planes(channels)) * kPlaneChannels * 3, 0);
  for (int i = 0; i < channels * 9; ++i) {
    const int c = i / 9, tap = i % 9, byte = tap < 8 ? tap % 4 : c % 4;
    packed[c * 3 + tap / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(weight[i])) << 8 * byte;
  }
  return packed;
}

std::vector<int8_t> pack_pair(const ConvWeights& w) {
  std::vector<int8_t> packed;
  for (int i = 0; i < 9 * 64 * 64; ++i) {
    const int step = i / 2048, k = i / 1024 % 2 * 16 + i % 16, row = i / 16 % 64, tap = step / 2;
    packed.push_back(weight_at(w, row / 16 * 16 + conv_channel(1, 0, row % 16), tap / 3, tap % 3, step % 2 * 32 + k));
  }
  return packed;
}

std::vector<int8_t> pack_sparse_pair(const ConvWeights& w) {
  const auto four = [&](int tap, int row, int i) {
    const int out = row / 16 * 16 + conv_channel(1, 0, row % 16);
    return two_of_four([&](int c) { return weight_at(w, out, tap / 3, tap % 3, 4 * i + c); });
  };
  std::vector<int8_t> packed;
  for (int i = 0; i < 9 * 64 * 32; ++i) {
    const int n = i / 1024 % 2 * 16 + i % 16;
    packed.push_back(four(i / 2048, i / 16 % 64, n / 2).value[n % 2]);
  }
  for (int i = 0; i < 9 * 128; ++i) {
    const int thread = i % 128;
    append_places(packed, places_first(thread), [&](int f) { return four(i / 128, thread / 32 * 16 + places_row(thread % 32), f); });
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

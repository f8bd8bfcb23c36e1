// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "model/row_plan.h"

#include <algorithm>
#include <climits>
#include <cmath>

namespace fastcodec {
namespace {

constexpr int kStepRows = 2 * kMaxRows;            // of the result: kMaxRows at half the resolution
constexpr double kMaxLeadRows = 256;
constexpr size_t kStripBytes = size_t{3} << 19;    // rings of a strip: about the share of the L2 cache that is free
constexpr int kMinStripCols = 256;                 // narrower strips would mostly compute their overlap;
constexpr int kMinStripHalos = 32;                 // those of fewer halos too, up to
constexpr int kWideStripCols = 768;                // so many columns
constexpr double kMinBandMacs = 1e7;               // less is not worth a thread
constexpr size_t kChainPixels = kChainCols + kPadPixels + kSlackPixels;  // of a row of a passing value

Size size_of(const Op& op, const RunArgs& args) {
  if (op.scale.requested) return {args.out_height, args.out_width};
  return {op.scale.apply(args.height), op.scale.apply(args.width)};
}

Range clamp_range(Range r, int n) { return {std::clamp(r.lo, 0, n), std::clamp(r.hi, 0, n)}; }

std::vector<Size> all_sizes(const Program& program, const RunArgs& args) {
  std::vector<Size> sizes;
  for (const Op& op : program.ops()) sizes.push_back(size_of(op, args));
  return sizes;
}

// What each operation must produce so that the last one can produce `out`; by rows or by columns.
std::vector<Range> needed_ranges(const Program& program, const std::vector<Size>& sizes, Range out, bool columns) {
  const auto& ops = program.ops();
  std::vector<Range> need(ops.size(), Range{INT_MAX, INT_MIN});
  need.back() = out;
  for (size_t i = ops.size() - 1; i > 0; --i) {
    const bool pairs = ops[i].kind == OpKind::kPixelShuffle || ops[i].kind == OpKind::kBicubicUp2;
    if (columns && pairs) need[i] = {need[i].lo / 2 * 2, (need[i].hi + 1) / 2 * 2};  // those kernels write pairs of pixels
    for (int which = 0; which < 2; ++which) {
      const int input = ops[i].in[which];
      if (input < 0) continue;
      const int n = columns ? sizes[input].width : sizes[input].height;
      const Range r = clamp_range(input_range(ops[i], which, need[i]), n);
      need[input] = {std::min(need[input].lo, r.lo), std::max(need[input].hi, r.hi)};
    }
  }
  return need;
}

// Up to which row each operation must have come so that the last one can come to row `end`, which may lie above the image;
// a number below 1 is no row.
std::vector<int> needed_ends(const Program& program, const std::vector<Size>& sizes, int end) {
  const auto& ops = program.ops();
  std::vector<int> ends(ops.size(), INT_MIN / 2);
  ends.back() = end;
  for (size_t i = ops.size() - 1; i > 0; --i) {
    for (int which = 0; which < 2; ++which) {
      const int input = ops[i].in[which];
      if (input < 0) continue;
      const int reached = std::min(input_range(ops[i], which, {ends[i] - 1, ends[i]}).hi, sizes[input].height);
      ends[input] = std::max(ends[input], reached);
    }
  }
  return ends;
}

// log2 of the rows of the result over those of the operation, of the operations that read it at least.
std::vector<int> all_levels(const Program& program) {
  const auto& ops = program.ops();
  std::vector<int> levels(ops.size(), 0);
  for (size_t i = ops.size() - 1; i-- > 0;) {
    const Scale& scale = ops[i].scale;
    if (!scale.requested) levels[i] = std::max(program.scale_log2() - (scale.ups - scale.downs), 0);
    for (const int reader : ops[i].readers) levels[i] = std::max(levels[i], levels[reader]);
  }
  return levels;
}

// The steps begin so many rows of the result before its first: with only a few rows of each value, not with all that the
// first row of the result depends on, for which the rings would have to have room.
int lead_rows(const Program& program) {
  return static_cast<int>(std::min(std::ceil(std::ldexp(program.halo(), program.scale_log2())), kMaxLeadRows));
}

// Raises ring_rows[i] to what the band needs: from the oldest row that a reader still wants to the newest.
void count_ring_rows(const Program& program, const std::vector<Size>& sizes, const Band& band, std::vector<int>* ring_rows) {
  const auto& ops = program.ops();
  stream_rows(program, sizes, band, [&](int i, int first, int n, const std::vector<int>& done) {
    int oldest = first;
    for (const int reader : ops[i].readers) {
      if (done[reader] >= band.made[reader].hi) continue;
      for (int which = 0; which < 2; ++which) {
        if (ops[reader].in[which] != i) continue;
        const Range r = input_range(ops[reader], which, {done[reader], done[reader] + 1});
        oldest = std::min(oldest, clamp_range(r, sizes[i].height).lo);
      }
    }
    (*ring_rows)[i] = std::max((*ring_rows)[i], first + n - oldest);
  });
}

std::vector<Range> cut(Range r, int n_parts, int multiple) {
  const int part = round_up((r.hi - r.lo + n_parts - 1) / n_parts, multiple);
  std::vector<Range> parts;
  for (int lo = r.lo; lo < r.hi; lo += part) parts.push_back({lo, std::min(lo + part, r.hi)});
  return parts;
}

size_t seam_bytes(const Band& band, const std::vector<Ring>& rings) {
  size_t bytes = 0;
  for (size_t i = 0; i < rings.size(); ++i) bytes += rings[i].row_bytes * (band.kept[i].hi - band.kept[i].lo);
  return bytes;
}

// Bands for the threads, as long as one is more than what its first rows depend on and has enough to do.
int count_bands(const Program& program, const std::vector<Size>& sizes, const RunArgs& args) {
  double macs = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    macs += static_cast<double>(program.ops()[i].weight.size()) * sizes[i].height * sizes[i].width;
  }
  const double halo = std::ldexp(program.halo(), program.scale_log2());
  const double by_rows = args.n_rows / std::max<double>(halo, kStepRows);
  const double by_work = macs * args.n_rows / args.out_height / kMinBandMacs;
  return static_cast<int>(std::clamp<double>(std::min(by_rows, by_work), 1, std::max(args.n_threads, 1)));
}

// Work of all that the result depends on from row y to row end, in multiplications.
double work_from(const Program& program, const std::vector<Size>& sizes, int y, int end) {
  const std::vector<Range> need = needed_ranges(program, sizes, {y, end}, false);
  double work = 0;
  for (size_t i = 0; i < need.size(); ++i) {
    work += static_cast<double>(program.ops()[i].weight.size()) * sizes[i].width * (need[i].hi - need[i].lo);
  }
  return work;
}

// Where bands of equal work begin. The lower of two makes what both need, so it has fewer rows of the result.
std::vector<int> band_starts(const Program& program, const std::vector<Size>& sizes, Range out, int n_bands) {
  const double all = work_from(program, sizes, out.lo, out.hi);
  std::vector<int> starts{out.lo};
  for (int k = 1; k < n_bands; ++k) {
    int lo = starts.back(), hi = out.hi;
    while (hi - lo > 1) {
      const int middle = lo + (hi - lo) / 2;
      (work_from(program, sizes, middle, out.hi) * n_bands > all * (n_bands - k) ? lo : hi) = middle;
    }
    if (hi < out.hi) starts.push_back(hi);
  }
  return starts;
}

// Rows of each value from band.made[i].lo on that `above` reads.
std::vector<Range> kept_rows(const Program& program, const std::vector<Size>& sizes, const Band& above, const Band& band) {
  const auto& ops = program.ops();
  std::vector<Range> kept;
  for (size_t i = 0; i < ops.size(); ++i) {
    Range rows{band.made[i].lo, band.made[i].lo};
    for (const int reader : ops[i].readers) {
      if (ops[i].passing || above.made[reader].lo >= above.made[reader].hi) continue;
      for (int which = 0; which < 2; ++which) {
        if (ops[reader].in[which] != static_cast<int>(i)) continue;
        const Range read = input_range(ops[reader], which, {above.made[reader].hi - 1, above.made[reader].hi});
        rows.hi = std::max(rows.hi, clamp_range(read, sizes[i].height).hi);
      }
    }
    kept.push_back(rows);
  }
  return kept;
}

std::vector<Band> make_bands(const Program& program, const std::vector<Size>& sizes, Range out, int n_bands) {
  const std::vector<int> starts = band_starts(program, sizes, out, n_bands);
  std::vector<Band> bands;
  for (size_t k = 0; k < starts.size(); ++k) {
    const Range rows{starts[k], k + 1 < starts.size() ? starts[k + 1] : out.hi};
    bands.push_back({rows, needed_ranges(program, sizes, {rows.lo, out.hi}, false), {}});
  }
  for (size_t k = 0; k + 1 < bands.size(); ++k) {
    for (size_t i = 0; i < sizes.size(); ++i) bands[k].made[i].hi = bands[k + 1].made[i].lo;
  }
  for (size_t k = 1; k < bands.size(); ++k) {
    bands[k].kept = kept_rows(program, sizes, bands[k - 1], bands[k]);
    for (size_t i = 0; i < sizes.size(); ++i) {  // a band so small that the one above would need one further below
      if (bands[k].kept[i].hi > bands[k].made[i].hi) return make_bands(program, sizes, out, n_bands - 1);
    }
  }
  return bands;
}

}  // namespace

size_t passing_row_bytes(const Program& program) {
  size_t bytes = 0;
  for (const Op& op : program.ops()) {
    if (op.passing) bytes = std::max(bytes, (kChainPixels * op.pixel_bytes() + kSlackBytes + 63) / 64 * 64);
  }
  return bytes;
}

std::vector<Ring> lay_out_rings(const Program& program, const std::vector<Size>& sizes, Range cols,
                                const std::vector<int>& ring_rows, size_t* total_bytes) {
  const std::vector<Range> need = needed_ranges(program, sizes, cols, true);
  std::vector<Ring> rings;
  size_t offset = 0;
  for (size_t i = 0; i + 1 < program.ops().size(); ++i) {
    const size_t pixel_bytes = program.ops()[i].pixel_bytes();
    Ring ring{need[i], ring_rows[i], offset, 0, (kPadPixels * pixel_bytes + 63) / 64 * 64};
    const size_t n_pixels = static_cast<size_t>(need[i].hi - need[i].lo) + kPadPixels + kSlackPixels;
    ring.row_bytes = (ring.left_bytes + n_pixels * pixel_bytes + kSlackBytes + 63) / 64 * 64;
    offset += ring.row_bytes * ring.n_rows;
    rings.push_back(ring);
  }
  size_t scratch = 0;
  for (size_t i = 0; i + 1 < program.ops().size(); ++i) {
    const Op& op = program.ops()[i];
    const int n_cols = need[i].hi - need[i].lo;
    for (const ConvPart& part : op.parts) scratch = std::max(scratch, program.kernels().conv_scratch_bytes(part.conv, n_cols));
    if (op.kind == OpKind::kBicubicUp2 || op.kind == OpKind::kBicubicDown2) {
      scratch = std::max(scratch, program.kernels().bicubic_scratch_bytes(op.pixel, n_cols));
    }
  }
  *total_bytes = offset + 2 * kMaxRows * passing_row_bytes(program) + scratch;
  return rings;
}

void stream_rows(const Program& program, const std::vector<Size>& sizes, const Band& band, const Produce& produce) {
  const auto& ops = program.ops();
  const Range out = band.out;
  const std::vector<int> levels = all_levels(program);
  std::vector<int> done;
  for (const Range& r : band.made) done.push_back(r.lo);
  const int n_levels = *std::max_element(levels.begin(), levels.end()) + 1;
  const int first = out.lo - lead_rows(program);
  std::vector<std::vector<int>> need(n_levels);  // of the step at each level
  std::vector<int> ends(n_levels, first);        // and where it ends in the result
  const int step = program.scale_log2() < -1 ? kMaxRows : kStepRows;
  for (int y = first; y < out.hi; y = ends[0]) {
    for (int level = 0; level < n_levels; ++level) {
      if (ends[level] > y) continue;
      const int size = level < 2 ? step : kMaxRows << level;
      const int past = (y % size + size) % size;
      ends[level] = std::min(y - past + size, out.hi);
      need[level] = needed_ends(program, sizes, ends[level]);
    }
    for (size_t i = 0; i < ops.size(); ++i) {
      if (ops[i].passing) continue;
      const int end = std::min(need[levels[i]][i], band.made[i].hi);
      while (done[i] < end) {
        const int n = std::min(end - done[i], kMaxRows);
        produce(static_cast<int>(i), done[i], n, done);
        done[i] += n;
        for (int k = ops[i].in[0]; k >= 0 && ops[k].passing; k = ops[k].in[0]) done[k] = done[i];
      }
    }
  }
}

RowPlan make_row_plan(const Program& program, const RunArgs& args) {
  RowPlan plan;
  plan.sizes = all_sizes(program, args);
  const Range rows{args.y, args.y + args.n_rows}, cols{args.x, args.x + args.n_cols};
  plan.bands = make_bands(program, plan.sizes, rows, count_bands(program, plan.sizes, args));
  plan.ring_rows.assign(program.ops().size(), 0);
  for (const Band& band : plan.bands) count_ring_rows(program, plan.sizes, band, &plan.ring_rows);
  size_t bytes = 0;
  lay_out_rings(program, plan.sizes, cols, plan.ring_rows, &bytes);
  const std::vector<int> levels = all_levels(program);
  const int wide = std::min(kMinStripHalos * lead_rows(program), kWideStripCols);
  const int min_cols = std::max(kMinStripCols << std::max(*std::max_element(levels.begin(), levels.end()) - 1, 0), wide);
  const int n_strips =
      static_cast<int>(std::min<size_t>((bytes + kStripBytes - 1) / kStripBytes, std::max(args.n_cols / min_cols, 1)));
  plan.strips = cut(cols, std::max(n_strips, 1), 16);
  for (const Range& strip : plan.strips) {
    const std::vector<Ring> rings = lay_out_rings(program, plan.sizes, strip, plan.ring_rows, &bytes);
    plan.bytes_per_thread = std::max(plan.bytes_per_thread, (bytes + 63) / 64 * 64);
    for (size_t k = 1; k < plan.bands.size(); ++k) plan.seam_bytes = std::max(plan.seam_bytes, seam_bytes(plan.bands[k], rings));
  }
  plan.n_seam_slots = static_cast<int>(std::min<size_t>(plan.strips.size(), 2));
  plan.n_threads = static_cast<int>(std::min<size_t>(std::max(args.n_threads, 1), plan.bands.size() * plan.strips.size()));
  return plan;
}

}  // namespace fastcodec

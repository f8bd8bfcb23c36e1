// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "model/device_program.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/error.h"
#include "kernels/cuda/chain_bodies.h"
#include "kernels/cuda/conv_pack.h"

namespace fastcodec {
namespace {

using cuda::ConvJob;
using cuda::Device;
using cuda::FusedJob;
using cuda::FusedKernel;
using cuda::ImageJob;
using cuda::ImageOp;
using cuda::ImageView;

constexpr size_t kAlign = 256;      // of values in the workspace
constexpr size_t kMaxGraphs = 8;    // also calls that are only noted
constexpr size_t kMaxGraphWorkspace = 256 << 20;
constexpr int kChannelBlock = 64;   // rows of the level tables are padded to this
constexpr int kFewChannels = 8;     // so many would leave most of a plane empty

// Device memory, given back to the stream at the end.
class Buffer {
 public:
  Buffer(const Device& device, size_t n_bytes, void* stream)
      : device_(device), data_(device.allocate(n_bytes, stream)), stream_(stream) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { device_.release(data_, stream_); }
  void* data() const { return data_; }

 private:
  const Device& device_;
  void* data_;
  void* stream_;
};

// Switches this thread to a device and back.
class CurrentDevice {
 public:
  CurrentDevice(const Device& device, int index) : device_(device), previous_(device.use(index)) {}
  ~CurrentDevice() {
    try {
      device_.use(previous_);
    } catch (...) {  // after a fault every call fails, and what failed first is on its way to the caller
    }
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  const Device& device_;
  int previous_;
};

bool is_dense_conv(const Op& op) { return op.kind == OpKind::kConv && !op.conv.depthwise; }

// May an operation of a step read nothing but planes?
bool reads_planes(const DeviceStep& step, const Op& op) { return is_dense_conv(op) || (op.conv.depthwise && step.ops.size() > 1); }

ImageOp image_op(const Op& op) {
  switch (op.kind) {
    case OpKind::kConv: return ImageOp::kDepthwise;
    case OpKind::kPixelUnshuffle: return ImageOp::kPixelUnshuffle;
    case OpKind::kPhase: return ImageOp::kPhase;
    case OpKind::kScale: return ImageOp::kScale;
    case OpKind::kLookup: return ImageOp::kLookup;
    case OpKind::kPixelShuffle: return ImageOp::kPixelShuffle;
    case OpKind::kBicubicUp2: return ImageOp::kBicubicUp2;
    case OpKind::kBicubicDown2: return ImageOp::kBicubicDown2;
    case OpKind::kResidual: return ImageOp::kResidual;
    default: return ImageOp::kCopy;  // input and store
  }
}

// Of a step of several operations: its first and its last.
ImageOp fused_op(const Op& first, const Op& last) {
  if (first.kind == OpKind::kPixelUnshuffle) return ImageOp::kUnshufflePhase;
  return last.kind == OpKind::kResidual ? ImageOp::kShuffleResidual : ImageOp::kPixelShuffleTwice;
}

// More than 64 channels are many at a low resolution, where more blocks with less each are faster.
int conv_tiles(const Op& op) {
  if (op.channels <= 16) return 1;
  return op.channels <= 32 || op.channels > 64 || op.conv.wide ? 2 : 4;
}
int conv_chunk(const Op& op) {
  const int planes = op.conv.kernel == 3 ? 2 : op.conv.wide ? 4 : 8;
  return std::min(planes, cuda::n_planes(op.conv.in_channels));
}

// As many as there are chunks for and room, if that leaves room for another block.
int conv_stages(const ConvJob& job, size_t shared_bytes) {
  const int n_chunks = (cuda::n_planes(job.in.channels) + job.chunk_planes - 1) / job.chunk_planes;
  const size_t stage = cuda::conv_stage_bytes(job);
  if (n_chunks >= 4 && 8 * stage <= shared_bytes) return 4;
  return n_chunks >= 2 && 2 * stage <= shared_bytes ? 2 : 1;
}

// Finds places for values in one piece of memory, first fit.
class Places {
 public:
  // A place for a value that is alive in steps first..last. Call with ascending `first`.
  size_t add(size_t n_bytes, int first, int last) {
    used_.erase(std::remove_if(used_.begin(), used_.end(), [&](const Used& u) { return u.last < first; }), used_.end());
    size_t at = 0;
    auto before = used_.begin();
    for (; before != used_.end() && before->at < at + n_bytes; ++before) at = std::max(at, before->end);
    const size_t end = at + (n_bytes + kAlign - 1) / kAlign * kAlign;
    used_.insert(before, {at, end, last});
    total_ = std::max(total_, end);
    return at;
  }
  size_t total() const { return total_; }

 private:
  struct Used {
    size_t at, end;
    int last;
  };
  std::vector<Used> used_;  // ascending
  size_t total_ = 0;
};

}  // namespace

// Where the values of a run lie; those in the workspace hold their offset until there is one.
struct DeviceProgram::Layout {
  std::vector<ImageView> views;  // one for each operation; undefined inside a fused step
  std::vector<bool> in_workspace;
  std::vector<bool> launched;    // per step: false where nothing is to be done
  size_t n_bytes;
};

// A call, and what replays it once it has come again.
struct DeviceProgram::Graph {
  RunArgs args;
  void* workspace;
  void* graph;
  void* own_workspace;
  bool failed;  // to be recorded: always launched

  bool is(const RunArgs& a, const void* w) const {
    return w == workspace && a.image == args.image && a.out == args.out && a.height == args.height && a.width == args.width &&
           a.level == args.level && a.out_height == args.out_height && a.out_width == args.out_width && a.x == args.x &&
           a.y == args.y && a.n_cols == args.n_cols && a.n_rows == args.n_rows;
  }
};

DeviceProgram::DeviceProgram(std::shared_ptr<const Program> program, const Device& device, int index, bool sparse)
    : program_(std::move(program)), device_(device), index_(index), tables_(program_->ops().size()) {
  const CurrentDevice current(device_, index_);
  limits_ = device_.limits();
  steps_ = plan_steps(*program_, limits_, sparse);
  try {
    for (const DeviceStep& step : steps_) upload_step(step);
  } catch (...) {
    release_tables();
    throw;
  }
}

DeviceProgram::~DeviceProgram() {
  try {
    const CurrentDevice current(device_, index_);
    device_.wait();  // for kernels that still read the tables
    for (Graph& graph : graphs_) release_graph(graph);
    release_tables();
  } catch (...) {
    // The device is gone, and its memory with it.
  }
}

void DeviceProgram::release_tables() noexcept {
  for (void* data : owned_) device_.release(data, nullptr);
}

void* DeviceProgram::upload(const void* data, size_t n_bytes) {
  owned_.reserve(owned_.size() + 1);
  void* copy = device_.allocate(n_bytes, nullptr);
  owned_.push_back(copy);
  device_.upload(copy, data, n_bytes, nullptr);
  return copy;
}

void DeviceProgram::upload_step(const DeviceStep& step) {
  for (const int i : step.ops) {
    const Op& op = program_->ops()[i];
    if (!op.table.empty()) tables_[i].table = upload(op.table.data(), op.table.size());
    if (op.kind == OpKind::kConv) upload_weight(step, i);
    if (op.kind != OpKind::kConv && op.kind != OpKind::kScale) continue;
    tables_[i].bias = upload_rows(op.bias, op.channels);
    tables_[i].mult = upload_rows(op.mult, op.channels);
  }
}

void DeviceProgram::upload_weight(const DeviceStep& step, int i) {
  const Op& op = program_->ops()[i];
  const std::vector<int8_t> dense = op.dense_weight(0, 1);
  const cuda::ConvWeights weights{dense.data(), op.channels, op.conv.kernel, op.conv.in_channels};
  const int planes = cuda::n_planes(weights.n_in);
  std::vector<int8_t> packed;
  if (op.conv.depthwise) {
    const std::vector<uint32_t> words = cuda::pack_depthwise(op.weight.data(), op.channels);
    tables_[i].weight = upload(words.data(), words.size() * sizeof(uint32_t));
    return;
  }
  if (op.conv.wide) packed = cuda::pack_wide(weights, planes, conv_tiles(op), conv_chunk(op));
  else if (step.sparse) packed = cuda::pack_sparse_conv(weights, planes, conv_tiles(op), conv_chunk(op));
  else if (step.adds.empty()) packed = cuda::pack_conv(weights, planes, conv_tiles(op), conv_chunk(op));
  else if (step.kernel == FusedKernel::kPair64) packed = cuda::pack_pair(weights);
  else if (step.kernel == FusedKernel::kSparsePair64) packed = cuda::pack_sparse_pair(weights);
  else if (step.kernel == FusedKernel::kRowPairs32) packed = cuda::pack_row_pairs(weights, i == step.ops.front() && planes == 1);
  else packed = cuda::pack_conv(weights, 2, 2, 2);
  tables_[i].weight = upload(packed.data(), packed.size());
}

// A level table, each row filled up with zeros.
void* DeviceProgram::upload_rows(const std::vector<TableRow>& rows, int channels) {
  const size_t padded = round_up(channels, kChannelBlock);
  std::vector<int32_t> all(padded * rows.size(), 0);
  for (size_t r = 0; r < rows.size(); ++r) {
    std::copy(rows[r].begin(), rows[r].begin() + channels, all.begin() + r * padded);
  }
  return upload(all.data(), all.size() * sizeof(int32_t));
}

DeviceProgram::Layout DeviceProgram::layout(const RunArgs& args) const {
  const auto& ops = program_->ops();
  const int n_ops = static_cast<int>(ops.size()), n_steps = static_cast<int>(steps_.size());
  Layout out{std::vector<ImageView>(n_ops), std::vector<bool>(n_ops, false), std::vector<bool>(n_steps, true), 0};
  std::vector<int> step_of(n_ops);
  for (int s = 0; s < n_steps; ++s) {
    for (const int i : steps_[s].ops) step_of[i] = s;
  }
  const ImageView result = cuda::dense_view(args.out, args.n_rows, args.n_cols, program_->out_channels(), program_->out_type());
  Places places;
  for (int s = 0; s < n_steps; ++s) {
    const int i = steps_[s].ops.back();
    const Op& op = ops[i];
    const int height = op.scale.requested ? args.out_height : op.scale.apply(args.height);
    const int width = op.scale.requested ? args.out_width : op.scale.apply(args.width);
    // Convolutions take nothing else, and for other kernels planes are faster, if the caller did not make the value or wants it.
    bool planes = is_dense_conv(op) || (op.channels > kFewChannels && op.kind != OpKind::kInput && i != ops.back().in[0]);
    for (const int reader : op.readers) planes = planes || reads_planes(steps_[step_of[reader]], ops[reader]);
    if (op.kind == OpKind::kStore) {
      out.views[i] = result;
      // The operation before has written there.
      out.launched[s] = out.views[op.in[0]].data != args.out || out.in_workspace[op.in[0]];
    } else if (op.kind == OpKind::kInput && !planes) {
      out.views[i] = cuda::dense_view(const_cast<uint8_t*>(args.image), height, width, op.channels, op.type);
      out.launched[s] = false;
    } else if (!planes && i == ops.back().in[0] && op.readers.size() == 1 && args.n_rows == height && args.n_cols == width) {
      out.views[i] = result;
    } else {
      const auto make = planes ? cuda::planes_view : cuda::dense_view;
      ImageView& view = out.views[i] = make(nullptr, height, width, op.channels, op.type);
      int last = s;
      for (const int reader : op.readers) last = std::max(last, step_of[reader]);
      out.in_workspace[i] = true;
      view.data = reinterpret_cast<void*>(places.add(view_bytes(view), s, last));
    }
  }
  out.n_bytes = places.total();
  return out;
}

size_t DeviceProgram::workspace_bytes(const RunArgs& args) const {
  check_run(*program_, args);
  return layout(args).n_bytes;
}

const int32_t* DeviceProgram::level_row(const void* table, size_t n_rows, int channels, int level) const {
  return static_cast<const int32_t*>(table) + (n_rows == 1 ? 0 : static_cast<size_t>(level) * round_up(channels, kChannelBlock));
}

void DeviceProgram::launch(const DeviceStep& step, const Layout& layout, const RunArgs& args, void* stream) const {
  const auto& ops = program_->ops();
  const int i = step.ops.back();
  const Op& op = ops[i];
  const Op& first = ops[step.ops.front()];
  const ImageView in = op.kind == OpKind::kInput ? cuda::dense_view(const_cast<uint8_t*>(args.image), args.height, args.width,
                                                                    program_->in_channels(), program_->in_type())
                                                 : layout.views[first.in[0]];
  const ImageView none{};
  const ImageView in2 = op.in[1] >= 0 ? layout.views[op.in[1]] : none;
  const auto bias = [&](int k) { return level_row(tables_[k].bias, ops[k].bias.size(), ops[k].channels, args.level); };
  const auto mult = [&](int k) { return level_row(tables_[k].mult, ops[k].mult.size(), ops[k].channels, args.level); };
  if (!step.adds.empty()) {
    FusedJob job{};
    job.kernel = step.kernel;
    job.in = in;
    job.out = layout.views[i];
    job.n_layers = static_cast<int>(step.ops.size());
    job.side = cuda::chain_side(limits_.shared_bytes);
    job.n_units = limits_.n_units;
    for (int n = 0; n < job.n_layers; ++n) {
      const int k = step.ops[n];
      job.layers[n] = {tables_[k].weight, bias(k), mult(k), step.adds[n]};
    }
    device_.launch_fused(job, stream);
  } else if (is_dense_conv(op)) {
    const int halves = step.sparse ? 4 : 2;
    ConvJob job{in, in2, layout.views[i], op.conv.kernel, op.conv.stride, conv_tiles(op), conv_chunk(op), 1, halves,
                tables_[i].weight, bias(i), mult(i), {}};
    if (step.ops.size() > 1) {
      const int k = step.ops.front();
      job.before = {static_cast<const uint32_t*>(tables_[k].weight), bias(k), mult(k)};
    } else {
      job.n_stages = conv_stages(job, limits_.shared_bytes);
    }
    device_.launch_conv(job, stream);
  } else {
    ImageJob job{};
    job.op = step.ops.size() > 1 ? fused_op(first, op) : image_op(op);
    job.in = in;
    job.in2 = in2;
    job.out = layout.views[i];
    if (op.kind == OpKind::kStore) {
      job.x0 = args.x;
      job.y0 = args.y;
    }
    if (op.kind == OpKind::kConv || op.kind == OpKind::kScale) {
      job.stride = op.conv.stride;
      job.weight = static_cast<const uint32_t*>(tables_[i].weight);
      job.bias = bias(i);
      job.mult = mult(i);
    }
    job.table = static_cast<const uint8_t*>(tables_[i].table);
    job.by_channel = op.table.size() > 256;
    job.n_phases = op.n_planes;
    job.period = op.period;
    device_.launch(job, stream);
  }
}

void DeviceProgram::run(const RunArgs& args, void* stream, void* workspace) const {
  check_run(*program_, args);
  const CurrentDevice current(device_, index_);
  const Layout places = layout(args);
  if (args.max_memory_bytes && places.n_bytes > args.max_memory_bytes) {
    throw Error(ErrorCode::kLimit, "device memory of " + std::to_string(places.n_bytes) + " bytes is more than the limit of " +
                                       std::to_string(args.max_memory_bytes) + "; decode regions, or raise the limit");
  }
  if (run_as_graph(args, places, stream, workspace)) return;
  std::unique_ptr<Buffer> own;
  if (!workspace && places.n_bytes) {
    own = std::make_unique<Buffer>(device_, places.n_bytes, stream);
    workspace = own->data();
  }
  launch_all(places, workspace, args, stream);
}

void DeviceProgram::launch_all(const Layout& layout, void* workspace, const RunArgs& args, void* stream) const {
  Layout placed = layout;
  for (size_t i = 0; i < placed.views.size(); ++i) {
    if (!placed.in_workspace[i]) continue;
    placed.views[i].data = static_cast<uint8_t*>(workspace) + reinterpret_cast<size_t>(placed.views[i].data);
  }
  for (size_t s = 0; s < steps_.size(); ++s) {
    if (placed.launched[s]) launch(steps_[s], placed, args, stream);
  }
}

void DeviceProgram::release_graph(Graph& graph) const {
  if (graph.graph) device_.drop(graph.graph);
  if (graph.own_workspace) device_.release(graph.own_workspace, nullptr);
}

// Launches of one graph wait for each other, whatever their streams, so its workspace is safe. Where the caller records the stream
// himself nothing may be done but launches.
bool DeviceProgram::run_as_graph(const RunArgs& args, const Layout& layout, void* stream, void* workspace) const {
  if (device_.is_recording(stream)) return false;
  const std::lock_guard<std::mutex> lock(graphs_mutex_);
  const auto found = std::find_if(graphs_.begin(), graphs_.end(), [&](const Graph& g) { return g.is(args, workspace); });
  if (found == graphs_.end()) {
    if (graphs_.size() == kMaxGraphs) {
      if (graphs_.front().graph) device_.wait();  // for replays under way
      release_graph(graphs_.front());
      graphs_.erase(graphs_.begin());
    }
    graphs_.push_back({args, workspace, nullptr, nullptr, false});
    return false;
  }
  std::rotate(found, found + 1, graphs_.end());
  Graph& call = graphs_.back();
  if (call.failed) return false;
  if (!call.graph) {
    if (!workspace && layout.n_bytes > kMaxGraphWorkspace) return false;
    try {
      if (!workspace && layout.n_bytes && !call.own_workspace) call.own_workspace = device_.allocate(layout.n_bytes, stream);
      void* memory = workspace ? workspace : call.own_workspace;
      call.graph = device_.capture([&](void* recorder) { launch_all(layout, memory, args, recorder); });
    } catch (...) {  // another thread may have come between; what the launches themselves say is what counts
      call.failed = true;
      return false;
    }
  }
  device_.replay(call.graph, stream);
  return true;
}

}  // namespace fastcodec

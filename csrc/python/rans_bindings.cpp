// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The range coder in fastcodec._core. Buffers come as they are (contiguous, checked by rans.py for type and shape); their
// sizes are checked here, the coder's own errors pass through, and the GIL is free while it works.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "codec/gaussian_tables.h"
#include "codec/range_coder.h"
#include "codec/range_on_device.h"
#include "common/error.h"
#include "common/parallel.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace fastcodec {
namespace {

class Buffer {
 public:
  Buffer(const py::object& object, bool writable) {
    if (PyObject_GetBuffer(object.ptr(), &view_, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  const uint8_t* data() const { return static_cast<const uint8_t*>(view_.buf); }
  uint8_t* writable() { return static_cast<uint8_t*>(view_.buf); }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};

void expect_size(const char* name, size_t got, size_t expected) {
  if (got != expected) {
    throw Error(ErrorCode::kValue, std::string(name) + " must have " + std::to_string(expected) + " bytes, got " + std::to_string(got));
  }
}

RangeType type_of_item(size_t item_size) { return item_size == 4 ? RangeType::kInt32 : RangeType::kInt16; }
int threads_or_default(int threads) { return threads > 0 ? threads : num_threads(); }

py::bytes to_bytes(const RangeStream& stream) {
  py::bytes out(nullptr, stream.size());
  uint8_t* to = reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(out.ptr()));
  const py::gil_scoped_release unlocked;  // nobody else has seen these bytes
  stream.copy_to(to);
  return out;
}

using TableList = std::vector<std::tuple<int, int, std::vector<uint16_t>>>;  // low, shift, frequencies

std::unique_ptr<RangeTables> make_tables(const TableList& list, const py::bytes& id_bytes) {
  const std::string id = id_bytes;
  if (id.size() != 4) throw Error(ErrorCode::kValue, "a table set's id has 4 bytes, got " + std::to_string(id.size()));
  std::vector<RangeTable> tables;
  for (const auto& [low, shift, freqs] : list) tables.push_back({low, shift, freqs});
  return std::make_unique<RangeTables>(std::move(tables), std::array<uint8_t, 4>{static_cast<uint8_t>(id[0]), static_cast<uint8_t>(id[1]),
                                                                                static_cast<uint8_t>(id[2]), static_cast<uint8_t>(id[3])});
}

TableList gaussian_tables() {
  TableList list;
  size_t at = 0;
  for (int t = 0; t < kGaussianTables; ++t) {
    const size_t n = kGaussianRadius[t] + 2u;  // below, -radius..0; the rest mirrors it
    std::vector<uint16_t> freqs(kGaussianFreqs + at, kGaussianFreqs + at + n);
    for (size_t i = n - 1; i-- > 0;) freqs.push_back(freqs[i]);
    at += n;
    list.emplace_back(-static_cast<int>(kGaussianRadius[t]), kGaussianShift[t], std::move(freqs));
  }
  return list;
}

py::bytes encode(const py::object& symbols, size_t item_size, const py::object& index, const RangeTables& tables, uint32_t chunk,
                 int threads, const std::string& backend) {
  const Buffer in(symbols, false), which(index, false);
  expect_size("symbols", in.size(), which.size() * item_size);
  const RangeKernels& kernels = range_kernels(backend);
  RangeStream out;
  {
    const py::gil_scoped_release unlocked;
    out = range_encode(in.data(), type_of_item(item_size), which.data(), which.size(), tables, chunk, kernels, threads_or_default(threads));
  }
  return to_bytes(out);
}

void decode(const py::object& data, const py::object& index, const RangeTables& tables, const py::object& out, size_t item_size,
            int threads, const std::string& backend) {
  const Buffer in(data, false), which(index, false);
  Buffer symbols(out, true);
  expect_size("out", symbols.size(), which.size() * item_size);
  const RangeKernels& kernels = range_kernels(backend);
  const py::gil_scoped_release unlocked;
  const RangeHead head = range_read_head(in.data(), in.size());
  range_decode(in.data(), head, which.data(), which.size(), tables, symbols.writable(), type_of_item(item_size), kernels,
               threads_or_default(threads));
}

py::bytes encode_bytes(const py::object& data, uint32_t chunk, int threads, const std::string& backend) {
  const Buffer in(data, false);
  const RangeKernels& kernels = range_kernels(backend);
  RangeStream out;
  {
    const py::gil_scoped_release unlocked;
    out = range_encode_bytes(in.data(), in.size(), chunk, kernels, threads_or_default(threads));
  }
  return to_bytes(out);
}

void decode_bytes(const py::object& data, const py::object& out, int threads, const std::string& backend) {
  const Buffer in(data, false);
  Buffer bytes(out, true);
  const RangeKernels& kernels = range_kernels(backend);
  const py::gil_scoped_release unlocked;
  const RangeHead head = range_read_head(in.data(), in.size());
  expect_size("out", bytes.size(), static_cast<size_t>(head.n_symbols));
  range_decode_bytes(in.data(), head, bytes.writable(), kernels, threads_or_default(threads));
}

py::dict info(const py::object& data) {
  const Buffer in(data, false);
  const RangeHead head = range_read_head(in.data(), in.size());
  static const char* const kKinds[] = {"symbols", "bytes", "stored"};
  py::dict d;
  d["kind"] = kKinds[static_cast<int>(head.kind)];
  d["size"] = head.n_symbols;
  d["chunk"] = head.chunk_symbols;
  d["wide"] = head.wide;
  d["tables_id"] = py::bytes(reinterpret_cast<const char*>(head.tables_id.data()), 4);
  d["chunks"] = head.kind == RangeKind::kStored ? 0 : head.n_chunks();
  return d;
}

// Index of each key: how many thresholds are <= key (both rising integers). Keys are float32 bits or integers: positive
// floats are ordered as their bits are, negative ones and -0 have the sign bit and so count as below everything.
void scale_index(const py::object& keys, const py::object& thresholds, const py::object& out) {
  const Buffer in(keys, false), limits(thresholds, false);
  Buffer index(out, true);
  expect_size("keys", in.size(), index.size() * 4);
  if (limits.size() % 4 != 0 || limits.size() > 255 * 4) throw Error(ErrorCode::kValue, "at most 255 thresholds of 4 bytes");
  const py::gil_scoped_release unlocked;
  range_scale_index(reinterpret_cast<const int32_t*>(in.data()), index.size(), reinterpret_cast<const int32_t*>(limits.data()),
                    static_cast<int>(limits.size() / 4), index.writable());
}

// Device memory that Python makes when its size is known.
template <class What>
std::function<void*(What)> maker(const py::function& make) {
  return [&make](What what) {
    const py::gil_scoped_acquire locked;
    const py::object address = make(what);
    return reinterpret_cast<void*>(address.cast<uintptr_t>());
  };
}

std::unique_ptr<RangeOnDevice> make_device(const RangeTables& tables, const std::string& device, int index, int order) {
  if (device == "emulator") return std::make_unique<RangeOnDevice>(tables, cuda::range_emulator(order), index);
  if (device != "cuda") throw Error(ErrorCode::kBackend, "device '" + device + "': no such device; use one of: cuda, emulator");
  return std::make_unique<RangeOnDevice>(tables, cuda::range_cuda_device(), index);
}

void device_encode(const RangeOnDevice& device, uintptr_t symbols, size_t item_size, uintptr_t index, uint64_t n, uint32_t chunk,
                   uintptr_t stream, const py::function& make_out) {
  const py::gil_scoped_release unlocked;
  device.encode(reinterpret_cast<const void*>(symbols), type_of_item(item_size), reinterpret_cast<const uint8_t*>(index), n, chunk,
                reinterpret_cast<void*>(stream), maker<uint64_t>(make_out));
}

void device_decode(const RangeOnDevice& device, uintptr_t data, uint64_t n_bytes, uintptr_t index, uint64_t n, int as_type,
                   uintptr_t stream, const py::function& make_out) {
  const py::gil_scoped_release unlocked;
  device.decode(reinterpret_cast<const uint8_t*>(data), n_bytes, reinterpret_cast<const uint8_t*>(index), n, as_type,
                reinterpret_cast<void*>(stream), maker<bool>(make_out));
}

}  // namespace

void bind_rans(py::module_& m) {
  py::class_<RangeTables>(m, "RansTables", "Validated tables of the range coder.")
      .def(py::init(&make_tables), py::arg("tables"), py::arg("id"), "tables: (low, shift, frequencies) of each. Raises FormatError for one that is not valid.")
      .def("__len__", &RangeTables::size)
      .def_property_readonly("mirrored", &RangeTables::mirrored, "Whether every table is symmetric around 0; for tests.");
  py::class_<RangeOnDevice>(m, "RansDevice", "Tables on a device: 'cuda', or 'emulator' for tests (order 0..3). Pointers are checked by the caller.")
      .def(py::init(&make_device), py::arg("tables"), py::arg("device"), py::arg("index"), py::arg("order"), py::keep_alive<1, 2>())
      .def("encode", &device_encode, py::arg("symbols"), py::arg("item_size"), py::arg("index"), py::arg("n"), py::arg("chunk"),
           py::arg("stream"), py::arg("make_out"), "Stream in the device memory that make_out(bytes) gives the address of; its length.")
      .def("decode", &device_decode, py::arg("data"), py::arg("n_bytes"), py::arg("index"), py::arg("n"), py::arg("as_type"),
           py::arg("stream"), py::arg("make_out"), "Symbols in the device memory that make_out(wide) gives the address of, int32 where wide, else int16.");
  m.def("rans_gaussian_tables", &gaussian_tables, "The default tables: (low, shift, frequencies) of each.");
  m.def("rans_encode", &encode, py::arg("symbols"), py::arg("item_size"), py::arg("index"), py::arg("tables"), py::arg("chunk"),
        py::arg("threads"), py::arg("backend"), "Stream of int16 or int32 symbols.");
  m.def("rans_decode", &decode, py::arg("data"), py::arg("index"), py::arg("tables"), py::arg("out"), py::arg("item_size"),
        py::arg("threads"), py::arg("backend"), "Fills out, int16 or int32 of item_size bytes, one symbol for each of index. Raises FormatError.");
  m.def("rans_encode_bytes", &encode_bytes, py::arg("data"), py::arg("chunk"), py::arg("threads"), py::arg("backend"), "Stream of bytes.");
  m.def("rans_decode_bytes", &decode_bytes, py::arg("data"), py::arg("out"), py::arg("threads"), py::arg("backend"),
        "Fills out, the bytes of the stream. Raises FormatError.");
  m.def("rans_info", &info, py::arg("data"), "Head of a stream.");
  m.def("rans_max_size", &range_max_size, py::arg("n_symbols"), py::arg("chunk"), "Bound of a stream's size.");
  m.def("rans_scale_index", &scale_index, py::arg("keys"), py::arg("thresholds"), py::arg("out"),
        "Fills out, uint8, with the place of each key among the rising thresholds, all int32.");
}

}  // namespace fastcodec

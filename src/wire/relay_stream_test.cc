#include "wire/relay_stream.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lanrage::wire {
namespace {

// Feeds `stream` in pieces of `step` bytes.
std::vector<Bytes> read_all(RelayStreamReader& reader, ByteView stream, std::size_t step) {
  std::vector<Bytes> out;
  while (!stream.empty() && !reader.is_broken()) {
    const MutableBytes room = reader.room();
    const std::size_t size = std::min({step, stream.size(), room.size()});
    std::copy_n(stream.begin(), size, room.begin());
    reader.commit(size);
    stream = stream.subspan(size);
    while (const auto datagram = reader.next()) out.push_back(to_bytes(*datagram));
  }
  return out;
}

TEST(RelayStream, GivesBackWhatWasPutInHoweverItIsCut) {
  std::vector<Bytes> datagrams;
  for (const std::size_t size : {std::size_t{1}, std::size_t{32}, std::size_t{1452}, kRelayStreamDatagramMax})
    for (int i = 0; i < 8; ++i) datagrams.push_back(Bytes(size, static_cast<std::uint8_t>(size + datagrams.size())));
  Bytes stream;
  for (const Bytes& datagram : datagrams) append_relay_stream_frame(stream, datagram);
  for (const std::size_t step : {1, 2, 3, 1000, 4096, 100000}) {
    RelayStreamReader reader(RelayStreamReader::End::kRelay);
    EXPECT_EQ(read_all(reader, stream, step), datagrams) << step;
    EXPECT_FALSE(reader.is_broken());
    EXPECT_FALSE(reader.room().empty());
  }
}

TEST(RelayStream, RefusesLengthsThatCannotBe) {
  for (const Bytes& bad : {Bytes{0, 0, 1}, Bytes{8, 1, 1}, Bytes{0xff, 0xff}}) {
    Bytes stream;
    append_relay_stream_frame(stream, Bytes{7});
    append(stream, bad);
    append_relay_stream_frame(stream, Bytes{8});
    RelayStreamReader reader(RelayStreamReader::End::kRelay);
    EXPECT_EQ(read_all(reader, stream, stream.size()), (std::vector<Bytes>{{7}}));
    EXPECT_TRUE(reader.is_broken());
    EXPECT_FALSE(reader.next());
  }
}

TEST(RelayStream, TheAskersFramesComeAfterTheAnswer) {
  Bytes stream = to_bytes(as_bytes(kRelayStreamAnswer));
  append_relay_stream_frame(stream, Bytes{7});
  for (const std::size_t step : {1, 5, 1000}) {
    RelayStreamReader reader(RelayStreamReader::End::kAsker);
    EXPECT_EQ(read_all(reader, stream, step), (std::vector<Bytes>{{7}})) << step;
  }
}

TEST(RelayStream, AnotherAnswerIsARefusal) {
  for (const std::string& answer : {std::string("HTTP/1.1 404 Not Found\r\n\r\n"), std::string(5000, 'x')}) {
    RelayStreamReader reader(RelayStreamReader::End::kAsker);
    EXPECT_TRUE(read_all(reader, as_bytes(answer), 100).empty());
    EXPECT_TRUE(reader.is_broken());
  }
}

}  // namespace
}  // namespace lanrage::wire

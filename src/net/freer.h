// Gives what a C library allocated back to it: `std::unique_ptr<X509, Freer<X509_free>>`.
#pragma once

namespace lanrage::net {

template <auto kFree>
struct Freer {
  template <class T>
  void operator()(T* p) const {
    kFree(p);
  }
};

}  // namespace lanrage::net

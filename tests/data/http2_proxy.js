// A CONNECT proxy on HTTP/2 with what node offers: node http2_proxy.js PORT [CHAIN KEY]
'use strict'
const fs = require('fs')
const http2 = require('http2')
const net = require('net')

const [port, chain, key] = process.argv.slice(2)
const { NGHTTP2_CONNECT_ERROR } = http2.constants
const server = chain
  ? http2.createSecureServer({ cert: fs.readFileSync(chain), key: fs.readFileSync(key) })
  : http2.createServer()

server.on('stream', (stream, headers) => {
  stream.on('error', () => {}) // of a client that resets; without a listener the process would end
  if (headers[':method'] !== 'CONNECT') {
    stream.respond({ ':status': 405 }, { endStream: true })
    return
  }
  const { hostname, port } = new URL(`tcp://${headers[':authority']}`)
  let granted = false
  const target = net.connect({ host: hostname, port, allowHalfOpen: true }, () => {
    granted = true
    stream.respond({ ':status': 200 })
    target.pipe(stream)
    stream.pipe(target)
  })
  target.on('error', () => {
    if (granted) stream.close(NGHTTP2_CONNECT_ERROR)
    else if (!stream.destroyed) stream.respond({ ':status': 502 }, { endStream: true })
  })
  stream.on('aborted', () => target.resetAndDestroy())
})
server.listen(port, '127.0.0.1')

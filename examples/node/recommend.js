// Publish one profile event and wait for its result:
//   node recommend.js 127.0.0.1:9092 '{"user_id": 42, "age": 27}'
import { randomUUID } from 'node:crypto'
import { Consumer, FetchIsolationLevels, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'

const bootstrapBrokers = [process.argv[2]]
const event = { event_id: randomUUID(), ...JSON.parse(process.argv[3]) }

const consumer = new Consumer({
  groupId: `marquee.reader.${randomUUID()}`,
  clientId: 'example',
  bootstrapBrokers,
  deserializers: stringDeserializers,
  // A reader without it also sees the records of aborted transactions.
  isolationLevel: FetchIsolationLevels.READ_COMMITTED,
})
// The stream starts at the end of the topic, so it must exist before the event is sent.
const stream = await consumer.consume({ topics: ['marquee.recommendations'], mode: MessagesStreamModes.LATEST, autocommit: false })

const producer = new Producer({ clientId: 'example', bootstrapBrokers, serializers: stringSerializers, idempotent: true })
const key = event.user_id === undefined ? event.event_id : String(event.user_id)
await producer.send({ messages: [{ topic: 'marquee.profiles', key, value: JSON.stringify(event) }], acks: -1 })
await producer.close()

for await (const message of stream) {
  const result = JSON.parse(message.value)
  if (result.event_id !== event.event_id) continue
  for (const movie of result.movies) console.log(`${movie.rank}. ${movie.title}`)
  break
}
await consumer.close(true)

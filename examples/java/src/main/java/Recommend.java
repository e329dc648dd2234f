import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Publishes one profile event and waits for its result:
 * mvn -q compile exec:java -Dexec.arguments='127.0.0.1:9092,{"user_id": 42}'
 */
public class Recommend {
    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0];
        ObjectMapper json = new ObjectMapper();
        ObjectNode event = (ObjectNode) json.readTree(arguments[1]);
        event.put("event_id", UUID.randomUUID().toString());

        // isolation.level: a reader without read_committed also sees the records of aborted transactions.
        Map<String, Object> reader = Map.of(
                "bootstrap.servers", servers, "isolation.level", "read_committed", "enable.auto.commit", false,
                "key.deserializer", StringDeserializer.class, "value.deserializer", StringDeserializer.class);
        // Java's producer is idempotent and acks=all by default.
        Map<String, Object> writer = Map.of(
                "bootstrap.servers", servers,
                "key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class);
        try (var consumer = new KafkaConsumer<String, String>(reader); var producer = new KafkaProducer<String, String>(writer)) {
            List<TopicPartition> partitions = consumer.partitionsFor("marquee.recommendations").stream()
                    .map(each -> new TopicPartition(each.topic(), each.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToEnd(partitions);
            partitions.forEach(consumer::position); // seekToEnd is lazy: the end must be known before the event is sent

            String key = event.has("user_id") ? event.get("user_id").asText() : event.get("event_id").asText();
            producer.send(new ProducerRecord<>("marquee.profiles", key, event.toString())).get();

            Instant deadline = Instant.now().plusSeconds(30);
            while (Instant.now().isBefore(deadline)) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    JsonNode result = json.readTree(record.value());
                    if (result.get("event_id").equals(event.get("event_id"))) {
                        result.get("movies").forEach(movie ->
                                System.out.println(movie.get("rank") + ". " + movie.get("title").asText()));
                        return;
                    }
                }
            }
            throw new IllegalStateException("no result within 30 s");
        }
    }
}

// The Function App's settings: all that docs/settings.md names, and none of them a secret. Where Azure
// is, the deployment's own cloud says.

@description('Client id of Slipway\'s identity.')
param clientId string

@description('Name of the Function App\'s own storage account.')
param storageName string

@description('Address of its blobs, with a slash at its end.')
param blobUrl string

@description('Host name of the Service Bus namespace.')
param busHostName string

@description('Address of the vault.')
param vaultUri string

@description('Address of the container of backup sets. Empty: none are made.')
param backupUrl string

@description('Key in the vault that seals backup sets. Empty: they are not encrypted, or by a secret.')
param backupVaultKey string

@description('Secret that is the key of older backup sets, or of all.')
param backupKey string

@description('Secret that is the passphrase of older backup sets, or of all.')
param backupPassphrase string

@description('When the sweep runs: NCRONTAB.')
param sweepSchedule string

@description('When apps are backed up: NCRONTAB, in UTC.')
param backupSchedule string

@description('When their newest sets are restored for practice: NCRONTAB, in UTC.')
param drillSchedule string

@description('Whom the tokens of secure webhooks are for: application ids or URIs, comma-separated. Empty: no tokens.')
param alertsAudience string

@description('Registries beside Azure\'s own that may be given Slipway\'s token, comma-separated.')
param acrHosts string

// Each of the two may end with a slash, depending on the cloud.
var resourceManager = join(filter(split(environment().resourceManager, '/'), part => !empty(part)), '//')
var login = join(filter(split(environment().authentication.loginEndpoint, '/'), part => !empty(part)), '//')

@description('Settings as name and value.')
output appSettings array = [
  { name: 'AzureWebJobsStorage__accountName', value: storageName }
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: clientId }
  { name: 'ServiceBus__fullyQualifiedNamespace', value: busHostName }
  { name: 'ServiceBus__credential', value: 'managedidentity' }
  { name: 'ServiceBus__clientId', value: clientId }
  { name: 'AZURE_CLIENT_ID', value: clientId }
  { name: 'AZURE_TOKEN_CREDENTIALS', value: 'ManagedIdentityCredential' }
  { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'Authorization=AAD;ClientId=${clientId}' }
  { name: 'KEY_VAULT_URL', value: vaultUri }
  { name: 'KEY_VAULT_VERIFY_CHALLENGE', value: 'true' }
  { name: 'ARM_ENDPOINT', value: resourceManager }
  { name: 'ARM_AUDIENCE', value: resourceManager }
  { name: 'LOG_ANALYTICS_ENDPOINT', value: 'https://api.loganalytics.io' }
  { name: 'LOG_ANALYTICS_AUDIENCE', value: 'https://api.loganalytics.io' }
  { name: 'METRICS_ENDPOINT', value: 'https://{region}.metrics.monitor.azure.com' }
  { name: 'METRICS_AUDIENCE', value: 'https://metrics.monitor.azure.com' }
  { name: 'SLIPWAY_CONFIG', value: '${blobUrl}config/apps.yaml' }
  { name: 'SLIPWAY_CONFIG_REFRESH_SECONDS', value: '30' }
  { name: 'SLIPWAY_SWEEP_SCHEDULE', value: sweepSchedule }
  { name: 'SLIPWAY_SWEEP_GRACE_SECONDS', value: '60' }
  { name: 'SLIPWAY_TABLE', value: 'slipway' }
  { name: 'SLIPWAY_BACKUP_URL', value: backupUrl }
  { name: 'SLIPWAY_BACKUP_VAULT_KEY', value: backupVaultKey }
  { name: 'SLIPWAY_BACKUP_KEY', value: backupKey }
  { name: 'SLIPWAY_BACKUP_PASSPHRASE', value: backupPassphrase }
  { name: 'SLIPWAY_BACKUP_SCHEDULE', value: backupSchedule }
  { name: 'SLIPWAY_DRILL_SCHEDULE', value: drillSchedule }
  { name: 'SLIPWAY_SITE_SCHEME', value: 'https' }
  { name: 'SLIPWAY_ACR_HOSTS', value: acrHosts }
  { name: 'SLIPWAY_ALERTS_AUDIENCE', value: alertsAudience }
  { name: 'SLIPWAY_ALERTS_TENANT', value: tenant().tenantId }
  { name: 'SLIPWAY_ALERTS_APP_IDS', value: '461e8683-5575-4561-ac7f-899cc907d62a' }
  { name: 'SLIPWAY_ALERTS_AUTHORITY', value: login }
]
